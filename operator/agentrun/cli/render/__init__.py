"""How answers look to a person. Nothing here asks the front door for anything."""
