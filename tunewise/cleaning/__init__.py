"""What can be done about the texts of a data set: pure functions of texts, which `data.prepare` applies and counts."""
