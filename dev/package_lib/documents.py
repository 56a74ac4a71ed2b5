"""The texts that come with a package: its history for Debian, and who made what is in it."""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import format_datetime
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from dev.package_lib.errors import PackageError
from dev.package_lib.release import CHECKOUT, REVISION, Release

MAINTAINER = "DBCalm maintainers <maintainers@dbcalm.invalid>"

_LIBRARIES = CHECKOUT / "requirements.txt"
_BOOTLOADER = "pyinstaller"
_COMMON = "/usr/share/common-licenses"
_LICENSE_FILE = re.compile(r"(?i)^(licen[cs]e|copying)\b")
_COPYRIGHT = re.compile(r"(?i)^\W*copyright (?:\([cC]\) |© )?(.*?\d{4}.*?)[\s.*]*$")
_GPL_BEGINS = "GNU GENERAL PUBLIC LICENSE"


def changelog(release: Release) -> str:
    """Return CHANGELOG.md as Debian's changelog: the newest entry is of this package, all others of what they say."""
    parts = re.split(
        r"^## ([0-9.]+).*\n", (CHECKOUT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.M
    )
    entries = []
    for position, (version, text) in enumerate(zip(parts[1::2], parts[2::2], strict=True)):
        full = f"{version if position else release.version}-{REVISION}"
        points = "\n\n".join(_points(text))
        when = format_datetime(release.made)
        entries.append(f"dbcalm ({full}) unstable; urgency=medium\n\n{points}\n\n -- {MAINTAINER}  {when}\n")
    return "\n".join(entries)


def _points(text: str) -> Iterator[str]:
    """Yield the paragraphs and headings of an entry as the points of a changelog."""
    for paragraph in re.split(r"\n\n|\n(?=- )", text.strip()):
        words = " ".join(paragraph.removeprefix("- ").removeprefix("### ").split()).replace("`", "")
        yield "\n".join(_wrapped(words, "  * ", "    "))


def _wrapped(text: str, first: str, others: str) -> list[str]:
    lines = [first]
    for word in text.split():
        if len(lines[-1]) + len(word) > 78:
            lines.append(others)
        lines[-1] += word if lines[-1] in (first, others) else f" {word}"
    return lines


@dataclass(frozen=True)
class Library:
    """A library of Python that is in the programs."""

    name: str
    version: str
    license: str
    copyright: tuple[str, ...]
    text: str


def libraries() -> list[Library]:
    """Return the pinned libraries, and the program that starts ours; raise PackageError if one does not say under
    which licence it is."""
    names = re.findall(r"^([a-z0-9._-]+)==", _LIBRARIES.read_text(encoding="utf-8"), re.M)
    found = []
    for name in (*names, _BOOTLOADER):
        try:
            found.append(_library(distribution(name)))
        except PackageNotFoundError:
            continue  # only other platforms need it
    return found


def _library(found: Distribution) -> Library:
    texts = [
        path.read_text(encoding="utf-8")
        for file in sorted(found.files or ())
        if _LICENSE_FILE.match(file.name)
        and ".dist-info" in str(file)
        and (path := Path(str(found.locate_file(file)))).is_file()
    ]
    if not texts:
        raise PackageError(f"library {found.name} comes without the text of its licence")
    lines = [match[1] for line in texts[0].splitlines() if (match := _COPYRIGHT.match(line))]
    return Library(found.name, found.version, _license(found), tuple(lines), "\n".join(texts))


def _license(found: Distribution) -> str:
    """Return the short name of a licence, as the library gives it in one of three places."""
    said: list[str] = [
        *(found.metadata.get_all("License-Expression") or ()),
        *(found.metadata.get_all("License") or ()),
        *(
            text.rpartition(" :: ")[2]
            for text in found.metadata.get_all("Classifier") or ()
            if "License" in text
        ),
        "see-below",
    ]
    if said[0].startswith("GPLv2"):
        return "GPL-2+ with PyInstaller-bootloader exception"
    return said[0].splitlines()[0].removesuffix(" License").replace(" ", "-")


def copyright_file(bundled: dict[str, list[str]]) -> str:
    """Return the machine-readable copyright file; ``bundled`` has the files of each Debian package that are in it."""
    head = [
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/",
        "Upstream-Name: DBCalm",
        f"Upstream-Contact: {MAINTAINER}",
        "Comment: The programs have Python, libraries of Python and libraries of Debian in them. The paragraphs below",
        " name libraries of Python by the folders of their sources, and what comes from Debian by its files.",
    ]
    paragraphs = [
        "\n".join(head),
        f"Files: *\nCopyright: the authors of DBCalm\nLicense: Apache-2.0\n{_common('Apache-2.0')}",
        "Files: usr/lib/dbcalm/_internal/dbcalm/api/static/swagger/*\nCopyright: SmartBear Software Inc.\n"
        f"License: Apache-2.0\n{_common('Apache-2.0')}",
    ]
    paragraphs += [
        f"Files: {library.name.replace('_', '-')}-{library.version}/*\n"
        f"Copyright: {_folded(library.copyright or (f'the authors of {library.name}',))}\n"
        f"License: {library.license}\n{_terms(library)}"
        for library in libraries()
    ]
    paragraphs += [
        f"Files: {_folded(tuple(files))}\nCopyright: see the licence\nLicense: {package}\n"
        f" As Debian's package {package} has it, in\n /usr/share/doc/dbcalm/licenses/{package}."
        for package, files in sorted(bundled.items())
    ]
    return "\n\n".join(paragraphs) + "\n"


def _terms(library: Library) -> str:
    """Return the text of a licence, or where Debian has it."""
    if library.license == "Apache-2.0":
        return _common("Apache-2.0")
    if library.license.startswith("GPL-2"):
        return f"{_indented(library.text[: library.text.index(_GPL_BEGINS)])}\n .\n{_common('GPL-2')}"
    return _indented(library.text)


def _common(name: str) -> str:
    return f" On Debian systems, the text is in {_COMMON}/{name}."


def _folded(lines: tuple[str, ...]) -> str:
    return "\n ".join(lines)


def _indented(text: str) -> str:
    return "\n".join(f" {line.rstrip()}" if line.strip() else " ." for line in text.strip().splitlines())


def of_debian(built: Path) -> dict[str, list[str]]:
    """Return which of Debian's packages the libraries in a folder of built programs come from, with their files there;
    raise PackageError for a library of which dpkg knows nothing."""
    found: dict[str, list[str]] = {}
    for path in sorted(built.rglob("*.so*")):
        below = path.relative_to(built / "_internal")
        if below.parts[0] in _PACKAGES_OF_PYTHON:
            continue
        name = path.name if below.parts[0] != "python3.11" else f"lib-dynload/{path.name}"
        found.setdefault(_package(name), []).append(f"usr/lib/dbcalm/{path.relative_to(built)}")
    return found


_PACKAGES_OF_PYTHON = ("bcrypt", "pydantic_core", "sqlalchemy", "yaml")


def _package(name: str) -> str:
    done = subprocess.run(["dpkg", "--search", f"*/{name}"], check=False, capture_output=True, text=True)
    owners = {line.partition(":")[0] for line in done.stdout.splitlines()}
    if len(owners) != 1:
        raise PackageError(f"packages are made on Debian: dpkg does not know where {name} comes from")
    return owners.pop()
