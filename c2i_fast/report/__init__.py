"""What people look at: figures. Importing this room imports no matplotlib."""
