"""Deliveries: frozen, claimed, handed over, accounted for."""
