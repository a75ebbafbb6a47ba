"""Every limit of requests and answers that clients are told: by the contract, by GetServerInfo or in a refusal.

Limits of one worker's memory, and limits that an operator sets, are not here.
"""

# Fields that one refusal names. The details of a status go in trailers, of which clients take 8 KiB.
MAX_VIOLATIONS = 10
