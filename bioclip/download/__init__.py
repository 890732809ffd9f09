"""Polite, safe download: from media URLs to checked, hashed images."""
