import { findPostgresFolders } from '../../deploy/tools.ts'
import { startDatabase } from '../../test/harness/database.ts'
import { testUnless } from '../../test/harness/system-packages.ts'
import { duesBetween, type Recurrence } from './recurrence.ts'

const MANY = 10_000
const QUARTER_SECONDS = 900

/** What each is here for. */
const YEARS: readonly (readonly [zone: string, year: number])[] = [
  ['America/New_York', 2024], // DST at 02:00
  ['Europe/Berlin', 2023], // not a leap year
  ['Europe/Dublin', 2024], // its winter is what deviates
  ['Africa/Casablanca', 2024], // DST but for Ramadan
  ['Asia/Kolkata', 2024], // half an hour, no DST
  ['Australia/Adelaide', 2024], // half an hour, DST
  ['Asia/Kathmandu', 2024], // 45 minutes
  ['Pacific/Chatham', 2024], // 45 minutes, DST at 02:45
  ['Africa/Cairo', 2024], // skips midnight
  ['Asia/Beirut', 2024], // skips midnight
  ['America/Sao_Paulo', 2018], // skips midnight, repeats the last hour of a day
  ['America/Havana', 2024], // skips midnight, repeats the first hour of a day
  ['America/Nuuk', 2024], // skips the last hour of a day
  ['Antarctica/Troll', 2024], // DST of two hours
  ['Australia/Lord_Howe', 2024], // DST of half an hour
  ['Pacific/Apia', 2011], // skipped 30 December
  ['UTC', 2100], // no leap year
]

const CLOCKS = ['00:00', '00:30', '01:45', '02:15', '02:30', '03:00', '12:00', '22:45', '23:30']
const REPEATS = [
  { repeat: 'daily', days: [] },
  { repeat: 'weekly', days: [0] },
  { repeat: 'weekly', days: [1, 3, 5] },
  { repeat: 'monthly', days: [1, 15] },
  { repeat: 'monthly', days: [30] },
  { repeat: 'monthly', days: [29, 31] },
]

const DAYS = `
  select day::date::text as date, extract(dow from day)::int as weekday, extract(day from day)::int as number,
    extract(day from day + interval '1 day') = 1 as is_last
  from generate_series(make_date($1, 1, 1)::timestamp, make_date($1, 12, 31)::timestamp, interval '1 day') day
  order by day`
interface CalendarDay {
  readonly date: string
  readonly weekday: number
  readonly number: number
  readonly is_last: boolean
}

/**
 * Every quarter of an hour of a year, and what the clock on the wall shows then. `walls`: the times that it has reached now
 * for the first time, those that it skips among them.
 */
const CLOCK = `
  with clock as (
    select instant, instant at time zone $1 as wall
    from generate_series(
      make_date($2, 1, 1)::timestamp at time zone $1,
      make_date($2 + 1, 1, 1)::timestamp at time zone $1,
      interval '15 minutes'
    ) instant
  ), reached as (
    select instant, wall, max(wall) over (order by instant) as latest from clock
  ), stepped as (
    select instant, wall, latest, lag(latest, 1, latest - interval '15 minutes') over (order by instant) as earlier from reached
  )
  select (extract(epoch from instant) * 1000)::float8 as ms, wall::date::text as date, array(
    select to_char(one, 'YYYY-MM-DD HH24:MI') from generate_series(earlier + interval '15 minutes', latest, '15 minutes') one
  ) as walls
  from stepped
  order by instant`
interface ClockRow {
  readonly ms: number
  readonly date: string
  readonly walls: readonly string[]
}

/** Days that a month lacks are its last one; a date that the zone never had is no day of a daily schedule. */
function isWanted({ repeat, days }: (typeof REPEATS)[number], day: CalendarDay, had: Set<string>): boolean {
  if (repeat === 'daily') return had.has(day.date)
  if (repeat === 'weekly') return days.includes(day.weekday)
  return days.includes(day.number) || (day.is_last && Math.max(...days) > day.number)
}

testUnless(findPostgresFolders().length === 0 ? 'PostgreSQL is not installed' : undefined)(
  'a year of every kind of schedule in many zones is that of the calendar and the clocks that Postgres has',
  async (t) => {
    const { db } = await startDatabase(t)
    for (const [timezone, year] of YEARS) {
      const calendar: CalendarDay[] = await db.query(DAYS, [year])
      const clock: ClockRow[] = await db.query(CLOCK, [timezone, year])
      const instants = new Map(clock.flatMap(({ ms, walls }) => walls.map((wall) => [wall, ms])))
      const had = new Set(clock.map(({ date }) => date))
      const first = clock[0]?.ms ?? Number.NaN
      const last = clock.at(-1)?.ms ?? Number.NaN
      for (const how of REPEATS) {
        const wanted = calendar.filter((day) => isWanted(how, day, had))
        for (const time of CLOCKS) {
          const [hours = 0, minutes = 0] = time.split(':').map(Number)
          const at = { ...how, startSeconds: hours * 3600 + minutes * 60, timezone } as Recurrence
          const expected = wanted.map(({ date }) => instants.get(`${date} ${time}`))
          t.deepEqual(duesBetween(at, first - 1, last - 1, MANY), expected, `${year} ${JSON.stringify(at)}`)
        }
      }
    }
  },
)

/** The clock alone, to the second: for what no quarter of an hour shows. */
testUnless(findPostgresFolders().length === 0 ? 'PostgreSQL is not installed' : undefined)(
  'a due instant is the second that was asked for by the clock of Postgres',
  async (t) => {
    const { db } = await startDatabase(t)
    for (const [timezone, year] of YEARS) {
      for (const startSeconds of [17, 4 * QUARTER_SECONDS + 1, 12 * 3600 + 3599, 86_399]) {
        const at: Recurrence = { repeat: 'daily', startSeconds, timezone }
        const dues = duesBetween(at, Date.UTC(year, 0), Date.UTC(year + 1, 0), MANY)
        const rows = await db.query(
          `select extract(epoch from wall - date_trunc('day', wall))::int as seconds, count(*)::int
           from unnest($2::float8[]) ms, lateral (select to_timestamp(ms / 1000) at time zone $1 as wall) clock
           group by 1 order by 2 desc`,
          [timezone, dues],
        )
        t.is(rows[0].seconds, startSeconds)
        // At most one of the days skipped that second.
        t.true(dues.length - rows[0].count <= 1, `${timezone} ${startSeconds}`)
        t.true(dues.length >= 364)
      }
    }
  },
)
