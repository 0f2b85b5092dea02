import { z } from 'zod'
import { FleetError } from '../../../shared/errors.ts'
import type { AttachmentFilter } from '../../core/block-attachments.ts'
import {
  BLOCK_SORT_KEYS,
  type BlockFilter,
  type BlockOrder,
  type BlockPageRequest,
  type TimeRange,
} from '../../core/block-volumes.ts'
import type { Caller } from '../../core/caller.ts'
import type { PageRequest } from '../../core/page.ts'
import { pairsOf } from './python-pairs.ts'
import { Flag } from './schemas.ts'

const PAGE_MAX = 1_000
const YEARS_END = 10_000
const word = z.string().max(1_000)
const times = word
  .optional()
  .meta({ description: '`gte:2026-01-02T03:04:05`, and `gt`, `lt`, `lte`, `eq`; several by commas' })

const paging = {
  limit: word.optional().meta({ description: `At most ${PAGE_MAX}, which it is unless said` }),
  marker: word.optional().meta({ description: "The last one's id of the page before" }),
  all_tenants: Flag.optional().meta({
    override: { type: 'boolean' },
    description: 'Of every group, for those with a role over the fleet; else not looked at',
  }),
}

/** What else a query holds is not looked at. */
export const ListQuery = z.object({
  ...paging,
  offset: word.optional().meta({ description: 'So many are left out, behind the marker if there is one' }),
  sort: word.optional().meta({
    description: `One of ${BLOCK_SORT_KEYS.join(', ')}, with \`:asc\` or \`:desc\`; newest first unless said`,
  }),
  sort_key: word.optional().meta({ description: 'As `sort`, of old' }),
  sort_dir: word.optional(),
  with_count: Flag.optional().meta({
    override: { type: 'boolean' },
    description: 'Says how many there are on all pages',
  }),
  name: word.optional(),
  status: word.optional(),
  metadata: word.optional().meta({ description: "All of these: JSON, or as Python writes it: `{'tier': 'gold'}`" }),
  bootable: Flag.optional().meta({ override: { type: 'boolean' }, description: 'Of volumes' }),
  volume_id: word.optional().meta({ description: 'Of snapshots' }),
  created_at: times,
  updated_at: times,
})
type ListQuery = z.output<typeof ListQuery>

export const AttachmentListQuery = z.object({
  ...paging,
  volume_id: word.optional(),
  instance_id: word.optional(),
  status: word.optional(),
  attach_status: word.optional(),
  sort: word.optional().meta({ description: 'Newest first: `created_at:desc` is all there is' }),
  offset: word.optional().meta({ description: 'Not offered: it is refused' }),
})
type AttachmentListQuery = z.output<typeof AttachmentListQuery>

function refuse(field: string, message: string): never {
  throw new FleetError('invalid', `${field}: ${message}`, { field })
}

function wholeOf(field: string, text: string): number {
  return /^\d{1,9}$/.test(text) ? Number(text) : refuse(field, 'must be a whole number')
}

function pageOf({
  limit = String(PAGE_MAX),
  marker,
}: {
  readonly limit?: string | undefined
  readonly marker?: string | undefined
}) {
  return { limit: Math.max(1, Math.min(wholeOf('limit', limit), PAGE_MAX)), cursor: marker }
}

/** @throws invalid */
export function listOf(query: ListQuery): { readonly filter: BlockFilter; readonly page: BlockPageRequest } {
  const { name, status, metadata, volume_id: volumeId, offset = '0' } = query
  return {
    filter: {
      ...{ name, status: status?.toLowerCase(), volumeId, isBootable: query.bootable },
      ...{ created: rangeOf('created_at', query.created_at), updated: rangeOf('updated_at', query.updated_at) },
      metadata: metadata === undefined ? undefined : pairsOf(metadata),
    },
    page: {
      ...pageOf(query),
      ...{ offset: wholeOf('offset', offset), order: orderOf(query), isCounted: query.with_count },
    },
  }
}

/** @throws invalid */
export function attachmentListOf(query: AttachmentListQuery): {
  readonly filter: AttachmentFilter
  readonly page: PageRequest
} {
  const { sort = 'created_at:desc', offset = '0', attach_status, status = attach_status } = query
  if (!/^created_at(:desc)?(,id(:desc)?)?$/.test(sort)) refuse('sort', 'only created_at:desc is offered')
  if (offset !== '0') refuse('offset', 'is not offered; go on from a marker')
  const { volume_id: volumeId, instance_id: instanceId } = query
  return { filter: { volumeId, instanceId, state: status?.toLowerCase() }, page: pageOf(query) }
}

/** Whose are listed: of the project alone, unless all are asked for by one who sees them. */
export function listedFor(
  caller: Caller,
  { all_tenants: all = false }: { readonly all_tenants?: boolean | undefined },
): Caller {
  return all ? caller : { ...caller, fleetRole: null }
}

/** The first that it is sorted by; behind it only the id, which it is anyway. Absent: newest first. */
function orderOf({ sort, sort_key, sort_dir }: ListQuery): BlockOrder | undefined {
  const asked = sort ?? sort_key ?? (sort_dir && 'created_at')
  if (!asked) return undefined
  const field = sort === undefined ? 'sort_key' : 'sort'
  const [first = '', ...more] = asked.split(',').map((one) => one.trim())
  if (more.some((one) => !/^id(:(asc|desc))?$/.test(one))) refuse(field, 'only one key is offered')
  const [word = '', direction = sort_dir || 'desc'] = first.split(':')
  if (direction !== 'asc' && direction !== 'desc') refuse(field, "the direction must be 'asc' or 'desc'")
  const name = word === 'display_name' ? 'name' : word
  const key = BLOCK_SORT_KEYS.find((known) => known === name)
  return { key: key ?? refuse(field, `must be one of ${BLOCK_SORT_KEYS.join(', ')}`), isAscending: direction === 'asc' }
}

const COMPARISON = /^(?:(gt|gte|lt|lte|eq):)?(\d{4}-.+)$/

/** UTC, unless it says its zone. @throws invalid */
function rangeOf(field: string, text: string | undefined): TimeRange | undefined {
  if (text === undefined) return undefined
  const range: Partial<Record<keyof TimeRange, Date>> = {}
  for (const part of text.split(',')) {
    const [, operator = 'eq', time = ''] =
      COMPARISON.exec(part.trim()) ?? refuse(field, 'must be like gte:2026-01-02T03:04:05')
    const at = new Date(/(Z|[+-]\d\d:?\d\d)$/.test(time) || !time.includes('T') ? time : `${time}Z`)
    // One of the year 0, or of five digits with its zone, is none to Postgres.
    if (!(at.getUTCFullYear() > 0 && at.getUTCFullYear() < YEARS_END)) refuse(field, 'is no time')
    if (operator === 'eq') Object.assign(range, { gte: at, lte: at })
    else range[operator as keyof TimeRange] = at // as: the pattern names no other
  }
  return range
}
