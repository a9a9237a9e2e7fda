"""`gatepost verify`: checks what office and edge have stored against what was signed; names what does not fit."""
