"""The drill: tries a deployment from outside, as a browser, an OAuth client, a thief and an attacker would."""
