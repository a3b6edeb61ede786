"""Models of the local store as folders that other programs read, and the cards that explain them.

Every export is checked before it gets its name: what it computes is compared with what was
trained, and one that is off is refused.
"""
