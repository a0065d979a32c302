import { createHash } from 'node:crypto';
import type { OpenApiDocument, Operation } from './openapi.ts';

const STYLE = `
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h2 { margin-top: 2.5rem; border-top: 1px solid #8884; padding-top: 1rem; }
h2 b { font-size: .75em; padding: .1em .5em; border-radius: .3em; background: #8883; }
code, pre { font: .875rem/1.45 ui-monospace, monospace; }
pre { overflow: auto; padding: .75rem; background: #8881; border-radius: .4rem; }
table { border-collapse: collapse; width: 100%; }
td, th { text-align: left; vertical-align: top; padding: .3rem .6rem .3rem 0; border-bottom: 1px solid #8883; }
`;

/** Nothing but this page's own style may load, and nothing runs. */
export const DOCS_POLICY = `default-src 'none'; style-src 'sha256-${createHash('sha256').update(STYLE).digest('base64')}'`;

/** The OpenAPI document as one page that needs no network and no script. */
export function renderDocs(document: OpenApiDocument): string {
  const { title, version, description } = document.info;
  const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => renderOperation(document, method, path, operation)),
  );
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>${escapeHtml(title)}</title><style>${STYLE}</style></head><body>
<h1>${escapeHtml(title)} ${escapeHtml(version)}</h1>
<p>${renderText(description)}</p>
<p>Send your key as <code>Authorization: Bearer …</code>. For tools: <a href="/openapi.json">openapi.json</a>.</p>
${operations.join('\n')}
</body></html>
`;
}

function renderOperation(
  document: OpenApiDocument,
  method: string,
  path: string,
  operation: Operation,
): string {
  const parts = [
    `<h2><b>${method.toUpperCase()}</b> <code>${escapeHtml(path)}</code></h2><p>${renderText(operation.summary)}.`,
  ];
  if (operation.description) parts.push(` ${renderText(operation.description)}`);
  parts.push(operation.security ? ' Needs no key.</p>' : '</p>');
  if (operation.requestBody) {
    const { schema, examples } = operation.requestBody.content['application/json'];
    parts.push(renderFields(document, schema['$ref']));
    for (const example of Object.values(examples)) {
      if (isRecord(example))
        parts.push(`<pre>${escapeHtml(renderCurl(method, path, example['value']))}</pre>`);
    }
  }
  return parts.join('');
}

function renderFields(document: OpenApiDocument, reference: unknown): string {
  const name = String(reference).split('/').at(-1) ?? '';
  const schema = document.components.schemas[name];
  if (!isRecord(schema) || !isRecord(schema['properties'])) return '';
  const required = Array.isArray(schema['required']) ? schema['required'] : [];
  const rows = Object.entries(schema['properties']).map(([field, property]) => {
    const description =
      isRecord(property) && typeof property['description'] === 'string' ? property['description'] : '';
    const need = required.includes(field) ? 'required' : '';
    return `<tr><td><code>${escapeHtml(field)}</code></td><td>${escapeHtml(typeOf(property))}</td><td>${need}</td><td>${renderText(description)}</td></tr>`;
  });
  return `<table><tr><th>Field</th><th>Type</th><th></th><th></th></tr>${rows.join('')}</table>`;
}

/** A schema's type in a few words; the document itself has the rest. */
function typeOf(schema: unknown): string {
  if (!isRecord(schema)) return '';
  const alternatives = schema['anyOf'] ?? schema['oneOf'];
  if (Array.isArray(alternatives)) {
    const names = new Set(alternatives.flatMap((alternative) => typeOf(alternative).split(' | ')));
    names.delete('null');
    return [...names].join(' | ');
  }
  if (Array.isArray(schema['enum'])) return schema['enum'].map((value) => JSON.stringify(value)).join(' | ');
  const { type } = schema;
  if (type === 'array') return `array of ${typeOf(schema['items']) || 'anything'}`;
  if (Array.isArray(type)) return type.filter((name) => name !== 'null').join(' | ');
  return typeof type === 'string' ? type : 'any';
}

function renderCurl(method: string, path: string, example: unknown): string {
  const body = JSON.stringify(example, null, 2).replaceAll("'", "'\\''");
  return `curl -X ${method.toUpperCase()} "$BASE_URL${path}" \\
  -H "Authorization: Bearer $KEY" -H "Content-Type: application/json" \\
  -d '${body}'`;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Plain text with `code` in backquotes. */
function renderText(text: string): string {
  return escapeHtml(text).replace(/`([^`]+)`/g, '<code>$1</code>');
}

const ENTITIES: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };

function escapeHtml(text: string): string {
  return text.replace(/[&<>"]/g, (character) => ENTITIES[character] ?? character);
}
