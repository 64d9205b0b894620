//! The stories: the product against real servers and real clients. One binary, one module a story.

mod the_lab;
