"""What is kept on disk about backups and jobs: manifests, proofs, holds, the journal."""
