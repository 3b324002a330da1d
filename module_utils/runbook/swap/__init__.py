"""The restore by swap: a database restored beside the live one takes its place."""
