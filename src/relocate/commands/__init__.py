"""One file per command of ``relocate``; each defines a function or a typer application that ``relocate.cli`` registers."""
