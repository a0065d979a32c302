import type { CodegenConfig } from '@graphql-codegen/cli';

/**
 * Types for the documents of `examples/`, which are checked against the schema on the way. For a project of your own,
 * copy this file and take the schema from a running gateway: see docs/graphql.md.
 */
const config: CodegenConfig = {
  schema: 'schema.graphql',
  documents: ['examples/*.ts'],
  importExtension: '.ts',
  generates: {
    'examples/generated/': {
      preset: 'client',
      presetConfig: {
        // Fragments are read where they are spread; masking them pays off once components have their own.
        fragmentMasking: false,
        // Documents by their hashes, for `PERSISTED_DOCUMENTS`.
        persistedDocuments: true,
      },
      config: {
        scalars: {
          DateTime: 'string',
          JSON: 'unknown',
          SafeInt: 'number',
          Vector: { input: 'never', output: 'ReadonlyArray<number>' },
        },
        strictScalars: true,
        useTypeImports: true,
        immutableTypes: true,
      },
    },
  },
};

export default config;
