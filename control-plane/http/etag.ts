import { hash } from 'node:crypto'
import { FleetError } from '../../shared/errors.ts'
import type { Answer, HandlerRequest, Route } from './route.ts'

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

/** @throws stale for a read whose `If-Match` names another version than the one it found. */
export function checkCondition({ ifMatch }: HandlerRequest, { etag, body }: Answer): void {
  if (ifMatch === undefined || ifMatch(etag ?? etagOf(JSON.stringify(body)))) return
  throw new FleetError('stale', 'the resource has changed: If-Match names another version of it')
}

/**
 * A condition is never ignored: a change whose route does not compare `If-Match` in its own transaction is not made.
 * @throws stale.
 */
export function refuseCondition({ ifMatch }: HandlerRequest, { method }: Route): void {
  if (ifMatch === undefined || method === 'GET') return
  throw new FleetError('stale', 'If-Match: nothing that this request changes has a version to compare')
}
