import { hash } from 'node:crypto'
import type { z } from 'zod'
import { FleetError } from '../../../shared/errors.ts'
import type { Caller, Role } from '../../core/caller.ts'
import type { Condition } from '../../core/condition.ts'
import type { Core } from '../../core/core.ts'
import type { Listing, ListRequest } from '../../core/query.ts'
import { Tags } from '../../core/requests.ts'
import { showDate } from './dates.ts'
import { documentLinks } from './links.ts'
import type { WireFields } from './wire-fields.ts'

/** What every noun of the directory has. */
export interface Kept {
  readonly id: string
  readonly documentId: string
  readonly version: number
  readonly createdAt: Date
  readonly updatedAt: Date
}

/** One noun of core, as core offers it to a resource. */
export interface Noun<Thing, Name extends string> {
  get(caller: Caller, id: string): Promise<Thing>
  list(caller: Caller, request: ListRequest<Name>): Promise<Listing<Thing>>
  delete(caller: Caller, id: string, ifMatch?: Condition<Thing>): Promise<void>
}

export interface ChangeOf<Thing, Body> {
  readonly caller: Caller
  readonly id: string
  readonly body: Body
  readonly ifMatch: Condition<Thing>
}

export interface Bodies {
  readonly create: z.ZodObject
  readonly replace: z.ZodObject
  readonly edit: z.ZodObject
}

/** What tells one collection from another; `documents.ts` and `lists.ts` make its routes of it. */
export interface Resource<Thing extends Kept, Name extends string, B extends Bodies> {
  readonly collection: string
  /** For links: `Usergroup`. */
  readonly title: string
  /** In names of operations: `UserGroup`. */
  readonly noun: string
  readonly view: z.ZodObject
  readonly bodies: B
  readonly fields: WireFields<Name>
  /** The least role in the group that is acted for; core asks for more where it needs more. */
  readonly access: { readonly create: Role; readonly change: Role; readonly delete: Role }
  of(core: Core): Noun<Thing, Name>
  /** The members that are the noun's own. */
  present(thing: Thing): Readonly<Record<string, unknown>>
  create(
    core: Core,
    caller: Caller,
    body: z.output<B['create']>,
  ): Promise<{ readonly thing: Thing; readonly shownOnce?: Readonly<Record<string, unknown>> }>
  replace(core: Core, change: ChangeOf<Thing, z.output<B['replace']>>): Promise<Thing>
  edit(core: Core, change: ChangeOf<Thing, z.output<B['edit']>>): Promise<Thing>
}

/** Of a version, not of bytes: it never repeats, and says nothing about the rest. */
export function etagOf({ id, version }: Kept): string {
  return hash('sha1', `${id} ${version}`, 'hex')
}

/** A document with everything that all of them have. */
export function present<Thing extends Kept>(
  { collection, title, present }: Pick<Resource<Thing, string, Bodies>, 'collection' | 'title' | 'present'>,
  thing: Thing,
): Record<string, unknown> {
  return {
    _id: thing.documentId,
    ...present(thing),
    _created: showDate(thing.createdAt),
    _updated: showDate(thing.updatedAt),
    _etag: etagOf(thing),
    _links: documentLinks(collection, title, thing.documentId),
    _status: 'OK',
  }
}

/** Tags after an edit: null takes one away. @throws invalid when there are too many. */
export function mergeTags(
  current: Readonly<Record<string, string>>,
  changes: Readonly<Record<string, string | null>> | undefined,
): Readonly<Record<string, string>> | undefined {
  if (changes === undefined) return undefined
  const merged = Object.entries({ ...current, ...changes }).filter(([, value]) => value !== null)
  const tags = Tags.safeParse(Object.fromEntries(merged))
  if (tags.success) return tags.data
  throw new FleetError('invalid', `tags: ${tags.error.issues[0]?.message}`, { field: 'tags' })
}
