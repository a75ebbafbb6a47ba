"""Who calls: accounts and logins, passwords, tokens and the keys that sign them."""
