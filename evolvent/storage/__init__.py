"""What a run leaves on disk: its folder, files that appear whole or not at all, checksums, and where it was made."""
