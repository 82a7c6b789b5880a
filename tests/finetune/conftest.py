"""Its folder is on the import path of the tests below it."""
