"""The parts of the suite: each measures one claim and writes its figures into the book."""
