import { z } from 'zod'
import { FleetError } from '../../../shared/errors.ts'
import { pathBelow } from '../../zfs/names.ts'

/**
 * A channel program (zfs-program(8)): looks at each name and destroys it, all in one transaction, so that nothing comes between. It
 * destroys only volumes without snapshots, and snapshots that nothing rests on; never anything below. ENOENT is 2, EBUSY 16.
 */
export const DESTROY_PROGRAM = `
local answers = {}
for _, name in ipairs((...)["argv"]) do
  local answer = { name = name, errno = 0, kind = "", blockers = {} }
  if not zfs.exists(name) then
    answer.kind = "absent"
  else
    answer.kind = zfs.get_prop(name, "type")
    if answer.kind == "snapshot" then
      for clone in zfs.list.clones(name) do table.insert(answer.blockers, clone) end
    elseif answer.kind == "volume" then
      for snapshot in zfs.list.snapshots(name) do
        table.insert(answer.blockers, snapshot)
        for clone in zfs.list.clones(snapshot) do table.insert(answer.blockers, clone) end
      end
    end
    if answer.kind ~= "filesystem" and #answer.blockers == 0 then answer.errno = zfs.sync.destroy(name) end
  end
  table.insert(answers, answer)
end
return answers
`

/** Lua has one kind of table: an empty list comes as an object, a list as an object of numbers on some versions. */
const listOf = <Item extends z.ZodType>(item: Item) =>
  z.union([z.array(item), z.record(z.string(), item).transform((table) => Object.values(table))])

const Answer = z.object({
  name: z.string(),
  errno: z.coerce.number(),
  kind: z.string(),
  blockers: listOf(z.string()),
})
const Answers = listOf(Answer)

const ENOENT = 2
const EBUSY = 16

/** @param answer what the program returned @returns by name; undefined: gone, or never there */
export function readDestroyed(answer: unknown, root: string): ReadonlyMap<string, Error | undefined> {
  const parsed = Answers.safeParse(answer)
  if (!parsed.success) {
    throw new FleetError('internal', 'ZFS answered what is not understood', { detail: JSON.stringify(answer) })
  }
  return new Map(parsed.data.map((one) => [one.name, failureOf(one, root)]))
}

function failureOf({ name, errno, kind, blockers }: z.infer<typeof Answer>, root: string): Error | undefined {
  const path = pathBelow(root, name)
  if (kind === 'absent' || (errno === ENOENT && blockers.length === 0)) return undefined
  if (kind === 'filesystem') return new FleetError('conflict', `${path} is a file system, not a volume`)
  if (blockers.length > 0) {
    const message = kind === 'snapshot' ? `clones rest on ${path}` : `${path} has snapshots`
    return new FleetError('conflict', message, { blockers: blockers.map((blocker) => pathBelow(root, blocker)) })
  }
  if (errno === 0) return undefined
  if (errno === EBUSY) return new FleetError('busy', `${path} is in use`)
  return new FleetError('internal', 'ZFS failed', { detail: `destroy ${name}: errno ${errno}` })
}
