"""What names say: of files and folders, of symbols, of files that are only numbered."""
