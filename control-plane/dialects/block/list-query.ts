import { z } from 'zod'
import { FleetError } from '../../../shared/errors.ts'
import type { BlockFilter } from '../../core/block-volumes.ts'
import type { Caller } from '../../core/caller.ts'
import type { PageRequest } from '../../core/page.ts'
import { Flag } from './schemas.ts'

const PAGE_MAX = 1_000
const word = z.string().max(1_000)
const nothing = (name: string) => word.optional().meta({ description: `\`${name}\` is not offered: it is refused` })

/** What else a query holds is not looked at. */
export const ListQuery = z.object({
  limit: word.optional().meta({ description: `At most ${PAGE_MAX}, which it is unless said` }),
  marker: word.optional().meta({ description: "The last one's id of the page before" }),
  offset: nothing('offset'),
  sort: word.optional().meta({ description: 'Newest first: `created_at:desc` is all there is' }),
  sort_key: nothing('sort_key'),
  sort_dir: nothing('sort_dir'),
  name: word.optional(),
  status: word.optional(),
  metadata: word.optional().meta({ description: "All of these: JSON, or as Python writes it: `{'tier': 'gold'}`" }),
  volume_id: word.optional().meta({ description: 'Of snapshots' }),
  all_tenants: Flag.optional().meta({
    override: { type: 'boolean' },
    description: 'Of every group, for those with a role over the fleet; else not looked at',
  }),
})
type ListQuery = z.output<typeof ListQuery>

const NEWEST_FIRST = /^created_at(:desc)?(,id(:desc)?)?$/

function refuse(field: string, message: string): never {
  throw new FleetError('invalid', `${field}: ${message}`, { field })
}

/** @throws invalid */
export function listOf(query: ListQuery): { readonly filter: BlockFilter; readonly page: PageRequest } {
  const { limit = String(PAGE_MAX), marker, name, status, metadata, volume_id: volumeId, sort, offset = '0' } = query
  if (!/^\d{1,9}$/.test(limit)) refuse('limit', 'must be a whole number')
  if (offset !== '0') refuse('offset', 'is not offered; go on from a marker')
  if (sort !== undefined && !NEWEST_FIRST.test(sort)) refuse('sort', 'only created_at:desc is offered')
  if ((query.sort_key ?? 'created_at') !== 'created_at') refuse('sort_key', 'only created_at is offered')
  if ((query.sort_dir ?? 'desc') !== 'desc') refuse('sort_dir', 'only desc is offered')
  return {
    filter: {
      name,
      status: status?.toLowerCase(),
      volumeId,
      metadata: metadata === undefined ? undefined : pairsOf(metadata),
    },
    page: { limit: Math.max(1, Math.min(Number(limit), PAGE_MAX)), cursor: marker },
  } as const
}

/** Whose are listed: of the project alone, unless all are asked for by one who sees them. */
export function listedFor(caller: Caller, { all_tenants: all = false }: ListQuery): Caller {
  return all ? caller : { ...caller, fleetRole: null }
}

const Pairs = z.record(z.string(), z.string())
const PYTHON = /^\s*\{\s*(.*?)\s*\}\s*$/s
const PYTHON_PAIR = /^u?'((?:[^'\\]|\\.)*)'\s*:\s*u?'((?:[^'\\]|\\.)*)'\s*(?:,\s*|$)/s

/** JSON, or a dict of texts as Python's `repr` shows it. @throws invalid */
function pairsOf(text: string): Readonly<Record<string, string>> {
  try {
    return Pairs.parse(JSON.parse(text))
  } catch {
    // It is Python, or nothing.
  }
  let rest = PYTHON.exec(text)?.[1] ?? refuse('metadata', 'must be an object of texts')
  const pairs: [string, string][] = []
  while (rest !== '') {
    const [all, name = '', value = ''] = PYTHON_PAIR.exec(rest) ?? refuse('metadata', 'must be an object of texts')
    pairs.push([name.replaceAll(/\\(.)/gs, '$1'), value.replaceAll(/\\(.)/gs, '$1')])
    rest = rest.slice(all.length)
  }
  return Object.fromEntries(pairs)
}
