-- The newest version of every resource. COLLATE "C" compares byte by byte, as versions are meant to be compared.
-- The event is text: jsonb refuses \u0000 and half surrogates, which JSON allows.
CREATE TABLE IF NOT EXISTS resources (
    source  text NOT NULL,
    subject text NOT NULL,
    version text COLLATE "C" NOT NULL,
    type    text NOT NULL,
    event   text NOT NULL,
    PRIMARY KEY (source, subject)
);
