import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';

/** A page in one piece, and the policy to serve it under. */
export interface Page {
  readonly html: string;
  readonly policy: string;
}

/**
 * The browser test: a page that loads nothing, to be served by the gateway or opened from a file. Only its own style and
 * script run. It may reach any address, because which gateway to test is for the person in front of it to say.
 */
export function renderCorsTest(): Page {
  const style = read('style.css');
  const script = read('script.js');
  const html = read('page.html')
    .replace('/* style.css */', () => style)
    .replace('/* script.js */', () => script);
  const policy = [
    "default-src 'none'",
    `script-src '${digestOf(script)}'`,
    `style-src '${digestOf(style)}'`,
    'img-src data:',
    'connect-src http: https: ws: wss:',
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join('; ');
  return { html, policy };
}

function read(name: string): string {
  return readFileSync(new URL(name, import.meta.url), 'utf8');
}

function digestOf(text: string): string {
  return `sha256-${createHash('sha256').update(text).digest('base64')}`;
}
