//! The stories: the product against real servers and real clients. One binary, one module a story.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod acme;
mod certificates;
mod commands;
mod crash;
mod disk;
mod doctor;
mod final_dot;
mod formats;
mod half;
mod hostile;
mod international;
mod judge;
mod leaving;
mod loops;
mod main_job;
mod mime;
mod package;
mod outbound;
mod peace;
mod reading;
mod restore;
mod scene;
mod the_lab;
mod upgrade;
mod sign_in;
