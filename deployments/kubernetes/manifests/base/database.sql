-- Run once, by the image of PostgreSQL when its volume is empty, through its socket.
\getenv password POSTGRES_PASSWORD
CREATE ROLE makerflow LOGIN PASSWORD :'password';
CREATE DATABASE registry OWNER makerflow;
CREATE DATABASE prefect OWNER makerflow;
-- The superuser enters through the socket alone.
ALTER ROLE postgres PASSWORD NULL;
