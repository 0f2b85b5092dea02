import { z } from 'zod'
import { FleetError } from '../../shared/errors.ts'
import { ExportAccess, IscsiName, MAX_ELEMENTS } from '../../shared/volume-spec.ts'
import type { Unexport, WantExport } from './exports.ts'
import { VolumeNameText, VolumeSnapshotNameText } from './volume-names.ts'

/** Text that travels in tools' arguments and files: printable, and one line. */
const Printable = z
  .string()
  .regex(/^[\x21-\x7e]*$/, 'must be printable ASCII without spaces')
  .min(1, 'must not be empty')

const Wanted = z.object({
  source: VolumeSnapshotNameText.optional(),
  volume: VolumeNameText,
  wwn: IscsiName,
  initiators: ExportAccess.shape.initiators.transform((initiators) => [...new Set(initiators)]),
  createParent: z.boolean().optional(),
  isSole: z.boolean().optional(),
  isReadonly: z.boolean().optional(),
  chap: z.object({ user: Printable.max(223), secret: Printable.max(255) }).optional(),
})
export type AskedExport = z.output<typeof Wanted>

const Asked = z.object({
  volume: VolumeNameText,
  wwn: IscsiName,
  deleteVolume: z.boolean().optional(),
  force: z.boolean().optional(),
  version: z.number().optional(),
  only: z.object({ exportId: z.string().optional(), volumeId: z.string().optional() }).optional(),
})
export type AskedUnexport = z.output<typeof Asked>

const listOf = <Element extends z.ZodType>(element: Element) =>
  z
    .array(element)
    .min(1, 'must hold at least one element')
    .max(MAX_ELEMENTS, `must hold at most ${MAX_ELEMENTS} elements`)
const WantedList = listOf(Wanted)
const AskedList = listOf(Asked)

/** @throws invalid, naming `clones[n].field`. */
export function checkWanted(wanted: readonly WantExport[]): readonly AskedExport[] {
  return check(WantedList, wanted)
}
export function checkAsked(asked: readonly Unexport[]): readonly AskedUnexport[] {
  return check(AskedList, asked)
}

function check<Schema extends z.ZodType>(schema: Schema, list: unknown): z.output<Schema> {
  const parsed = schema.safeParse(list)
  if (parsed.success) return parsed.data
  const [issue] = parsed.error.issues
  const path = issue?.path ?? []
  const field = path.reduce<string>(
    (text, key) => (typeof key === 'number' ? `${text}[${key}]` : `${text}.${String(key)}`),
    'clones',
  )
  throw new FleetError('invalid', `${field}: ${issue?.message ?? 'is not usable'}`, { field })
}
