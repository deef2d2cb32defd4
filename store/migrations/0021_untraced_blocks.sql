-- Blocks that were walked without knowing what contracts sent on to our addresses: the node could not trace them.
CREATE TABLE untraced_blocks (
    network TEXT NOT NULL,
    first_height BIGINT NOT NULL,
    last_height BIGINT NOT NULL,
    PRIMARY KEY (network, first_height)
);
