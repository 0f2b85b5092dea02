import { strict as assert } from 'node:assert'
import type { AnyRoute, Dialect, Method, RawRoute, Route, SocketRoute, StreamRoute } from './route.ts'

/** What one path of one dialect answers. */
export interface PathEntry {
  readonly path: string
  readonly dialect: Dialect
  readonly byMethod: ReadonlyMap<string, Route | RawRoute>
  readonly stream: StreamRoute | undefined
  readonly socket: SocketRoute | undefined
}

function entryOf(path: string, dialect: Dialect): PathEntry {
  const routes = dialect.routes.filter((route) => route.path === path)
  const plain = routes.filter((route) => route.kind === 'route' || route.kind === 'raw')
  const byMethod = new Map<Method, Route | RawRoute>(plain.map((route) => [route.method, route]))
  assert(byMethod.size === plain.length, `${dialect.name} ${path}: one method, two routes`)
  const stream = routes.find((route) => route.kind === 'stream')
  const socket = routes.find((route) => route.kind === 'socket')
  return { path, dialect, byMethod, stream, socket }
}

/** Segments that are spelled out come before parameters, so `/backup/progress` wins over `/backup/:id`; what takes the rest comes last. */
function bySpecificity(left: PathEntry, right: PathEntry): number {
  const key = (path: string) => path.replaceAll(/:[^/]+/g, '~').replace(/\*[^/]+$/, '~~')
  return key(left.path) < key(right.path) ? -1 : 1
}

/** Every path of every dialect, the most specific first. */
export function pathEntries(dialects: readonly Dialect[]): readonly PathEntry[] {
  const entries = dialects.flatMap((dialect) => {
    const paths = new Set(dialect.routes.map((route: AnyRoute) => route.path))
    return [...paths].map((path) => entryOf(path, dialect))
  })
  assert(new Set(entries.map((entry) => entry.path)).size === entries.length, 'two dialects share a path')
  return entries.toSorted(bySpecificity)
}

/** The methods for an `Allow` header over all entries that match one path. */
export function allowedMethods(entries: readonly PathEntry[]): string {
  const methods = new Set(entries.flatMap((entry) => [...entry.byMethod.keys(), ...(entry.stream ? ['GET'] : [])]))
  return [...methods, ...(methods.has('GET') ? ['HEAD'] : []), 'OPTIONS'].join(', ')
}

/** Whose envelope a path wears that no route may match: the longest prefix decides, else the last dialect. */
export function createOwnership(dialects: readonly Dialect[]): (path: string) => Dialect {
  const claims = dialects
    .flatMap((dialect) => dialect.owns.map((prefix) => ({ prefix, dialect })))
    .toSorted((left, right) => right.prefix.length - left.prefix.length)
  const fallback = dialects.at(-1)
  assert(fallback, 'a listener needs a dialect')
  return (path) => {
    const claim = claims.find(({ prefix }) => path === prefix || path.startsWith(`${prefix}/`))
    return claim?.dialect ?? fallback
  }
}

/** Takes a dialect's prefix off its own paths; in front of anybody else's it is part of a path that nobody knows. */
export function createPrefixes(
  dialects: readonly Dialect[],
  ownerOf: (path: string) => Dialect,
): (target: string) => string {
  const prefixed = dialects.flatMap((dialect) =>
    dialect.prefix === undefined ? [] : [{ prefix: dialect.prefix, dialect }],
  )
  return (target) => {
    const found = prefixed.find(({ prefix }) => target.startsWith(`${prefix}/`))
    if (found === undefined) return target
    const rest = target.slice(found.prefix.length)
    return ownerOf(rest.split('?', 1)[0] ?? '') === found.dialect ? rest : target
  }
}
