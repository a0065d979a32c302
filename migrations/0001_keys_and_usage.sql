-- What a caller may do. A key's secret is never here: only digests of it are, in api_key_secrets.
create table api_keys (
  id text primary key,
  name text not null check (char_length(name) between 1 and 200),
  scopes text[] not null,
  -- Globs of model names. Empty: all models.
  models text[] not null,
  -- Null: not limited.
  requests_per_minute integer check (requests_per_minute > 0),
  tokens_per_minute integer check (tokens_per_minute > 0),
  concurrent_requests integer check (concurrent_requests > 0),
  created_at timestamptz not null,
  expires_at timestamptz,
  last_used_at timestamptz,
  revoked_at timestamptz,
  metadata jsonb not null check (jsonb_typeof(metadata) = 'object')
);

create index api_keys_newest_first on api_keys (created_at desc, id desc);

-- A key has one secret, or several for as long as a rotation's grace period lasts.
create table api_key_secrets (
  -- SHA-256 of the secret, in hex. Secrets have 256 random bits, so a plain digest cannot be searched for.
  digest text primary key check (digest ~ '^[0-9a-f]{64}$'),
  key_id text not null references api_keys (id),
  -- The secret's first characters, to recognise it by.
  prefix text not null,
  -- Order of issue; the clocks of several replicas would not give one.
  issue bigint generated always as identity,
  -- Null: as long as the key.
  expires_at timestamptz
);

create index api_key_secrets_of_key on api_key_secrets (key_id, issue desc);

-- The ledger: one row per request, whatever its end. A null count was not reported; it is not zero.
-- Without a foreign key, so that a row never has to wait for, or fail with, anything else.
create table usage_records (
  id text primary key,
  request_id text not null,
  key_id text not null,
  protocol text not null,
  operation text not null,
  model text not null,
  backend text,
  status text not null,
  error_code text,
  finish_reason text,
  streamed boolean not null,
  prompt_tokens bigint,
  completion_tokens bigint,
  reasoning_tokens bigint,
  cached_tokens bigint,
  -- True where the gateway counted, because the answer ended before the backend had.
  estimated boolean not null,
  queue_ms double precision,
  load_ms double precision,
  prompt_ms double precision,
  first_token_ms double precision,
  total_ms double precision,
  tokens_per_second double precision,
  started_at timestamptz not null
);

create index usage_records_by_key on usage_records (key_id, started_at);
create index usage_records_by_model on usage_records (model, started_at);
create index usage_records_by_time on usage_records (started_at);
