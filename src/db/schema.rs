//! The tables, as the migrations create them on both databases.

diesel::table! {
    users (id) {
        id -> BigInt,
        email -> Text,
        hashed_password -> Text,
        created_at -> Timestamp,
        credential_version -> BigInt,
        reset_token -> Nullable<Binary>,
        reset_token_expires_at -> Nullable<Timestamp>,
        reset_token_mailed_at -> Nullable<Timestamp>,
        previous_reset_token -> Nullable<Binary>,
        previous_reset_token_expires_at -> Nullable<Timestamp>,
        previous_reset_token_mailed_at -> Nullable<Timestamp>,
    }
}

diesel::table! {
    sessions (digest) {
        digest -> Binary,
        handle -> Text,
        user_id -> BigInt,
        created_at -> Timestamp,
        last_seen_at -> Timestamp,
        user_agent -> Text,
        ip -> Text,
        credential_version -> BigInt,
    }
}

diesel::table! {
    outgoing_mails (id) {
        id -> BigInt,
        kind -> Text,
        email -> Text,
        created_at -> Timestamp,
        due_at -> Timestamp,
        tries -> BigInt,
        claimed_until -> Nullable<Timestamp>,
    }
}

diesel::table! {
    revocations (revision) {
        revision -> BigInt,
        kind -> Text,
        user_id -> BigInt,
        handle -> Nullable<Text>,
        digest -> Nullable<Binary>,
        at -> Timestamp,
    }
}

diesel::table! {
    swept_revocations (through) {
        through -> BigInt,
    }
}

diesel::table! {
    server_keys (id) {
        id -> BigInt,
        purpose -> Text,
        key -> Binary,
        created_at -> Timestamp,
    }
}

diesel::table! {
    decoys (slot) {
        slot -> BigInt,
        user_id -> BigInt,
    }
}

diesel::table! {
    decoy_sampling (considered) {
        considered -> BigInt,
        last_user_id -> Nullable<BigInt>,
    }
}

diesel::table! {
    trusted_clock (trusted_at) {
        trusted_at -> Timestamp,
    }
}

diesel::joinable!(sessions -> users (user_id));
diesel::allow_tables_to_appear_in_same_query!(users, sessions, outgoing_mails);
diesel::allow_tables_to_appear_in_same_query!(decoys, users);
diesel::allow_tables_to_appear_in_same_query!(revocations, swept_revocations);
