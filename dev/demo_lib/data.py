"""Sample data for the demo: three schemas, made by the server itself, and what happens to them between backups."""

from dev.sandbox_lib.database import Database
from dev.sandbox_lib.errors import SandboxError
from dev.sandbox_lib.processes import wait_until

LOAD = """
CREATE DATABASE shop;
USE shop;
CREATE TABLE shop.customers (
    id INT PRIMARY KEY, name VARCHAR(60) NOT NULL, email VARCHAR(80) NOT NULL, joined DATE NOT NULL, KEY (email)
) ENGINE=InnoDB;
INSERT INTO shop.customers
    SELECT seq, CONCAT('Zoë Müller ', seq), CONCAT('z', seq, '@example.org'), '2020-01-01' + INTERVAL seq % 2000 DAY
    FROM seq_1_to_60000;
CREATE TABLE shop.orders (
    id INT PRIMARY KEY, customer INT NOT NULL, placed DATETIME NOT NULL, total DECIMAL(9,2) NOT NULL,
    note VARCHAR(200) NOT NULL, KEY (placed), FOREIGN KEY (customer) REFERENCES shop.customers (id)
) ENGINE=InnoDB;
INSERT INTO shop.orders
    SELECT seq, 1 + seq * 7919 % 60000, '2024-01-01' + INTERVAL seq MINUTE, seq % 900 / 7, REPEAT(MD5(seq), 4)
    FROM seq_1_to_150000;
CREATE DATABASE archive;
USE archive;
CREATE TABLE archive.events (id INT PRIMARY KEY, happened DATETIME NOT NULL, what VARCHAR(100) NOT NULL) ENGINE=Aria;
INSERT INTO archive.events
    SELECT seq, '2023-01-01' + INTERVAL seq SECOND, CONCAT('event ', SHA1(seq)) FROM seq_1_to_5000;
CREATE TABLE archive.by_year (id INT, year INT, text VARCHAR(80), PRIMARY KEY (id, year)) ENGINE=InnoDB
    PARTITION BY RANGE (year) (PARTITION old VALUES LESS THAN (2020), PARTITION new VALUES LESS THAN MAXVALUE);
INSERT INTO archive.by_year SELECT seq, 2010 + seq % 16, SHA2(seq, 256) FROM seq_1_to_50000;
CREATE DATABASE media;
USE media;
CREATE TABLE media.pictures (id INT PRIMARY KEY, content MEDIUMBLOB NOT NULL) ENGINE=InnoDB;
INSERT INTO media.pictures SELECT seq, REPEAT(UNHEX(SHA2(seq, 512)), 1500) FROM seq_1_to_200;
CREATE TABLE media.to_be_dropped (id INT PRIMARY KEY) ENGINE=InnoDB;
"""

# A little of everything, as between two backups of a night: an incremental has the pages of InnoDB that were changed,
# and the whole files of Aria. The sequences that rows are made from need a current schema, whichever.
CHANGE = """
USE shop;
UPDATE shop.orders SET note = REPEAT(SHA1(id), 3) WHERE id BETWEEN 40000 AND 41000;
DELETE FROM shop.orders WHERE id BETWEEN 70000 AND 70200;
INSERT INTO shop.orders SELECT seq, 1 + seq % 60000, NOW(), 9.99, 'after the full backup' FROM seq_150001_to_152000;
ALTER TABLE shop.customers ADD COLUMN loyal BOOLEAN NOT NULL DEFAULT FALSE;
UPDATE shop.customers SET loyal = TRUE WHERE id < 1000;
INSERT INTO archive.events SELECT seq, NOW(), 'a late event' FROM seq_5001_to_5100;
DROP TABLE media.to_be_dropped;
CREATE TABLE media.sounds (id INT PRIMARY KEY, content BLOB NOT NULL) ENGINE=InnoDB;
INSERT INTO media.sounds SELECT seq, REPEAT(UNHEX(SHA1(seq)), 500) FROM seq_1_to_30;
"""

# The server rewrites the statistics of InnoDB whenever it likes; everything else must come back as it was.
_TABLES = """
SELECT CONCAT('`', table_schema, '`.`', table_name, '`') FROM information_schema.tables
WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ('information_schema', 'performance_schema')
AND NOT (table_schema = 'mysql' AND table_name IN ('innodb_table_stats', 'innodb_index_stats'))
ORDER BY 1
"""


_SETTLED_BYTES, _SETTLED_SECONDS = 100_000, 60.0


def settle(database: Database) -> None:
    """Let the server write to its files what it has only in its log, as it does by itself in time: an incremental
    begins where the log of its base did."""

    def age() -> int:
        return int(database.sql("SHOW GLOBAL STATUS LIKE 'Innodb_checkpoint_age'").split("\t")[1])

    usual = database.sql("SELECT @@innodb_max_dirty_pages_pct")
    database.sql("SET GLOBAL innodb_max_dirty_pages_pct = 0")
    wait_until(lambda: age() < _SETTLED_BYTES, _SETTLED_SECONDS)
    database.sql(f"SET GLOBAL innodb_max_dirty_pages_pct = {usual}")


def checksums(database: Database) -> dict[str, str]:
    """Return the checksum of every table of a running server, by the table's name."""
    tables = database.sql(_TABLES).splitlines()
    rows = database.sql(f"CHECKSUM TABLE {', '.join(tables)} EXTENDED").splitlines()
    return dict(row.split("\t", 1) for row in rows)


def require_equal(expected: dict[str, str], found: dict[str, str]) -> None:
    """Raise SandboxError naming the tables that differ, if any."""
    differing = sorted(name for name in expected | found if expected.get(name) != found.get(name))
    if differing:
        raise SandboxError(f"these tables did not come back as they were: {', '.join(differing)}")
    broken = sorted(name for name, checksum in found.items() if checksum == "NULL")
    if broken:
        raise SandboxError(f"these tables cannot be read: {', '.join(broken)}")
