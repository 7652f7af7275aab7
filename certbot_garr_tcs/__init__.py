"""Certbot plugin suite for GARR TCS."""
