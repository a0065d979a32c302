/** Documents by their ids, for a gateway with `PERSISTED_DOCUMENTS`: what to send in the place of `query`. */
import type { TypedDocumentNode } from '@graphql-typed-document-node/core';

/** @throws Error for a document that was generated without `persistedDocuments`. */
export function idOf(document: TypedDocumentNode<unknown, never>): string {
  const { __meta__: meta } = document as { readonly __meta__?: { readonly hash?: string } };
  if (meta?.hash === undefined) throw new Error('Generate the documents with persistedDocuments: true.');
  return meta.hash;
}

/** An operation for graphql-ws, or the body of an HTTP request. */
export function persistedOperation<Variables extends Record<string, unknown>>(
  document: TypedDocumentNode<unknown, Variables>,
  variables: Variables,
) {
  const persistedQuery = { version: 1, sha256Hash: idOf(document) };
  return { query: '', variables, extensions: { persistedQuery } };
}
