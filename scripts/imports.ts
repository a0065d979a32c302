import { parseSync } from '@swc/core';

/** Something that a source file imports, types and `import()` included. */
export interface Import {
  /** Undefined where an `import()` computes it. */
  readonly specifier: string | undefined;
  /** From 1. */
  readonly line: number;
}

/**
 * Everything that a TypeScript module imports. It reads the syntax tree, so code inside strings and comments is none.
 * @throws Error where the source does not parse.
 */
export function findImports(source: string): readonly Import[] {
  // Positions count bytes from the first token of everything parsed so far; a token of our own makes that the beginning.
  const marked = `;${source.replace(/^#!/, '//')}`;
  const bytes = Buffer.from(marked);
  const module = parseSync(marked, { syntax: 'typescript', target: 'es2024' });
  const lineAt = (position: number) =>
    bytes
      .subarray(0, position - module.span.start)
      .toString()
      .split('\n').length;
  const found: Import[] = [];
  visit(module, (node) => {
    const target = targetOf(node);
    if (target) found.push({ specifier: stringOf(target), line: lineAt(startOf(target)) });
  });
  return found;
}

type Node = Readonly<Record<string, unknown>>;

function isNode(value: unknown): value is Node {
  return typeof value === 'object' && value !== null;
}

function visit(value: unknown, see: (node: Node) => void): void {
  if (!isNode(value)) return;
  if ('type' in value) see(value);
  for (const child of Object.values(value)) visit(child, see);
}

/** The node that names what is imported, if this one imports anything. */
function targetOf(node: Node): Node | undefined {
  switch (node['type']) {
    case 'ImportDeclaration':
    case 'ExportAllDeclaration':
    case 'ExportNamedDeclaration':
      return isNode(node['source']) ? node['source'] : undefined;
    case 'TsImportType':
      return isNode(node['argument']) ? node['argument'] : undefined;
    case 'CallExpression': {
      const { callee, arguments: args } = node;
      if (!isNode(callee) || callee['type'] !== 'Import' || !Array.isArray(args)) return undefined;
      const [first]: readonly unknown[] = args;
      return isNode(first) && isNode(first['expression']) ? first['expression'] : undefined;
    }
    default:
      return undefined;
  }
}

function stringOf({ type, value }: Node): string | undefined {
  return type === 'StringLiteral' && typeof value === 'string' ? value : undefined;
}

function startOf({ span }: Node): number {
  return isNode(span) && typeof span['start'] === 'number' ? span['start'] : 0;
}
