import { hash } from 'node:crypto'

/** A strong validator of exactly these bytes. */
export function etagOf(json: string): string {
  return `"${hash('sha1', json, 'base64url')}"`
}

/** Whether an If-Match or If-None-Match list names `etag`; `W/` prefixes and missing quotes are forgiven. */
export function namesEtag(header: string, etag: string): boolean {
  if (header.trim() === '*') return true
  const bare = etag.slice(1, -1)
  return header.split(',').some((entry) => entry.trim().replace(/^W\//, '').replaceAll('"', '') === bare)
}
