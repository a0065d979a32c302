import type { Limits } from './limit.ts';

/** What a key may do. */
export const SCOPES = ['chat', 'embeddings', 'models', 'keys:read', 'keys:write', 'usage:read'] as const;
export type Scope = (typeof SCOPES)[number];

/** Whoever holds a valid key. */
export interface Principal {
  readonly keyId: string;
  readonly name: string;
  readonly scopes: readonly Scope[];
  /** Globs of the models the key may use. Empty: all. */
  readonly models: readonly string[];
  readonly limits: Limits;
}

/** A key as kept and shown: everything but its secret, which exists only as a digest. */
export interface ApiKey extends Principal {
  /** The first characters of the secret, enough to recognise it. */
  readonly prefix: string;
  readonly createdAt: Date;
  readonly lastUsedAt?: Date;
  readonly expiresAt?: Date;
  readonly revokedAt?: Date;
  readonly metadata: Readonly<Record<string, string>>;
}
