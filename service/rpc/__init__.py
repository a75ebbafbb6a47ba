"""The methods of ChatService, one thin file an area."""
