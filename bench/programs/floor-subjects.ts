import { z } from 'zod'
import { BareOperation } from './bare-operation.ts'

/** The floor's own streams; it shares nothing with the product but the servers. */
export const FLOOR_WORK = 'FLOOR_WORK'
export const FLOOR_EVENTS = 'FLOOR_EVENTS'
export const FLOOR_WORK_SUBJECT = 'floor.work'
export const FLOOR_EVENT_SUBJECT = 'floor.event'
export const FLOOR_AGENT = 'floor-agent'
export const FLOOR_INGEST = 'floor-ingest'

export const FloorRequest = z.object({ operation: BareOperation.optional() })
export const FloorOrder = FloorRequest.extend({ id: z.string() })
export const FloorEvent = z.object({ id: z.string(), state: z.string() })
