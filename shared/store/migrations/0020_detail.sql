-- What is known of a call and explains no charge: the caller's own ids, and what a policy
-- found in its texts. It stands beside the row of usage, which is sealed for good, so that
-- a client can have it forgotten (S1-B14). A call with nothing to tell has no row here.
CREATE TABLE usage_detail (
    client_id         bigint NOT NULL,
    request_id        uuid NOT NULL,
    client_request_id text NOT NULL, -- '' = none, as below; rows of earlier builds have it in usage
    conversation_id   text NOT NULL, -- x-conversation-id
    flags             integer NOT NULL, -- usage.Findings; rows of earlier builds have them in usage
    PRIMARY KEY (client_id, request_id)
);
CREATE INDEX usage_detail_conversation ON usage_detail (client_id, conversation_id, request_id) WHERE conversation_id <> '';
