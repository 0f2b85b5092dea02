import { z } from 'zod'
import { FleetError } from '../../shared/errors.ts'
import { HostName, ResourceName } from '../../shared/ids.ts'
import { TargetPath } from '../../shared/point-spec.ts'
import { checkKept, checkRequest } from './check-request.ts'
import { SeriesPath } from './point-requests.ts'
import { backupDirectory } from './point-series.ts'
import type { Recurrence } from './recurrence.ts'
import { type At, atSchema, recurrenceOf, type StartUnit } from './recurrence-schema.ts'
import { InnerPath } from './requests.ts'
import { Retention } from './retention-schema.ts'
import { FEATURES, SOURCE_TYPES, type SourceType } from './schedules.ts'

/** Bytes of a name: it is the end of a directory's name. */
const NAME_MAX = 180
const CONTAINER_MAX = 255
const PATH_MAX = 1024
/** Bytes of `at` with all that clients put there. */
const AT_MAX = 4096

// biome-ignore lint/suspicious/noControlCharactersInRegex: those are what is refused
const PLAIN = /^[^\u0000-\u001f\u007f\\]*$/

export const BackupName = z
  .string('must be text')
  .min(1, 'must not be empty')
  .regex(PLAIN, 'must not hold control characters or backslashes')
  .refine((name) => !name.includes('/'), "must not hold '/'")
  .refine((name) => Buffer.byteLength(name) <= NAME_MAX, `must be at most ${NAME_MAX} bytes`)

const ContainerName = z
  .string()
  .min(1, 'must not be empty')
  .max(CONTAINER_MAX, `must be at most ${CONTAINER_MAX} characters`)
  .regex(PLAIN, 'must not hold control characters or backslashes')

const CONTAINERS: Readonly<Record<SourceType, z.ZodType<string>>> = {
  dataset: ResourceName,
  path: InnerPath,
  lxc: ContainerName,
  docker: ContainerName,
}

const SourceFields = { type: z.enum(SOURCE_TYPES), container: z.string(), host: HostName.nullable() }

/** What a schedule is, whether it was just made or changed. */
const Wanted = z.object({
  name: BackupName,
  ...SourceFields,
  target: z.string().nullable(),
  path: z.string().max(PATH_MAX),
  at: z.unknown(),
  disabled: z.boolean(),
  retention: Retention,
  features: z
    .array(z.enum(FEATURES))
    .refine(
      (features) => !(features.includes('pause') && features.includes('stop')),
      "'pause' and 'stop' exclude each other",
    )
    .transform((features) => [...new Set(features)]),
})
export type WantedSchedule = z.infer<typeof Wanted>

/** How times of day are meant that do not say it themselves. */
export interface Calendar {
  readonly startUnit: StartUnit
  /** IANA. */
  readonly timezone: string
}

export type CheckedSchedule = Omit<WantedSchedule, 'at'> & {
  readonly at: At
  readonly recurrence: Recurrence
  readonly timezone: string
  readonly directory: string
}

/** @throws invalid. */
export function checkSchedule(wanted: Record<keyof WantedSchedule, unknown>, calendar: Calendar): CheckedSchedule {
  const checked = checkKept(Wanted, wanted)
  const { at } = checkKept(z.object({ at: atSchema(calendar.startUnit) }), { at: wanted.at })
  if (Buffer.byteLength(JSON.stringify(at)) > AT_MAX) {
    throw new FleetError('invalid', `at: must be at most ${AT_MAX} bytes`, { field: 'at' })
  }
  return {
    ...checked,
    container: checkContainer(checked.type, checked.container),
    at,
    recurrence: recurrenceOf(at, calendar),
    timezone: at.timezone ?? calendar.timezone,
    directory: seriesPath(checked.path, checked.name),
  }
}

/** As its type spells it. @throws invalid. */
export function checkContainer(type: SourceType, container: string): string {
  const checked = checkRequest(z.object({ container: CONTAINERS[type] }), { container }).container
  return type === 'path' ? checked.replaceAll(/\/+/g, '/').replace(/(.)\/$/, '$1') : checked
}

/** Without needless slashes. @param name of the backup whose directory is to lie there. @throws invalid. */
export function seriesPath(path: string, name?: string): string {
  const directory = path.split('/').filter(Boolean).join('/')
  const whole = [directory, ...(name === undefined ? [] : [backupDirectory(name)])].filter(Boolean).join('/')
  checkRequest(z.object({ path: name === undefined ? TargetPath : SeriesPath }), { path: whole })
  return directory
}

const local = { startSeconds: z.number(), timezone: z.string() }

/** As it is kept: what a schedule meant when it was made it means for good, whatever is configured later. */
export const KeptRecurrence: z.ZodType<Recurrence> = z.discriminatedUnion('repeat', [
  z.object({ repeat: z.literal('daily'), ...local }),
  z.object({ repeat: z.literal('weekly'), ...local, days: z.array(z.number()) }),
  z.object({ repeat: z.literal('monthly'), ...local, days: z.array(z.number()) }),
  z.object({ repeat: z.literal('oneshot'), instantMs: z.number() }),
])
