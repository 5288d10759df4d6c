//! The link machine: its walks, and what holds in whatever order things happen.
