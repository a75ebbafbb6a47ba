"""The methods of ChatService, one thin file an area, and what stands around each: names, tokens, refusals, counts.

Policy is not here: it is in the rooms below. Imported by `worker` alone. ADR 4 is the page.
"""
