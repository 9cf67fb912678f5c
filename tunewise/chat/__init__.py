"""Conversations: their messages, and the text that chat templates make of them."""
