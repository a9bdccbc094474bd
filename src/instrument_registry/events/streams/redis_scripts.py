"""What Redis does in one step: scripts. Their first key is the marker, the others are the streams."""

# What the marker says, whether each stream ends with the id the marker names, and how many entries there are.
SEE = """
local marker = redis.call('HMGET', KEYS[1], 'log', 'owner', 'layout', 'position', 'witness', 'floor')
local whole, entries = 1, 0
for i = 2, #KEYS do
    local noted = redis.call('HGET', KEYS[1], 'last:' .. (i - 2)) or '0-0'
    local stream, last = redis.pcall('XINFO', 'STREAM', KEYS[i]), nil
    if not stream.err then
        for j = 1, #stream, 2 do
            if stream[j] == 'last-generated-id' then last = stream[j + 1] end
            if stream[j] == 'length' then entries = entries + stream[j + 1] end
        end
    end
    if last ~= noted then whole = 0 end
end
return {marker[1], marker[2], marker[3], marker[4], marker[5], marker[6], whole, entries}
"""

# owner before, owner from now on. Trimming nothing makes it a script that has written, which may go on without memory.
TAKE = """
if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then return 0 end
redis.call('XTRIM', KEYS[2], 'MINID', '0')
redis.call('HSET', KEYS[1], 'owner', ARGV[2])
return 1
"""

# owner before ('' for none), owner from now on, log, layout, position to begin after; KEYS
# beyond the first ARGV[6] go for good
RESET = """
if (redis.call('HGET', KEYS[1], 'owner') or '') ~= ARGV[1] then return 0 end
redis.call('UNLINK', unpack(KEYS))
redis.call('HSET', KEYS[1], 'owner', ARGV[2], 'log', ARGV[3], 'layout', ARGV[4], 'position', ARGV[5],
           'floor', ARGV[5], 'witness', '')
for i = 2, tonumber(ARGV[6]) do
    redis.call('XGROUP', 'CREATE', KEYS[i], 'made', '0', 'MKSTREAM')
    redis.call('XGROUP', 'DESTROY', KEYS[i], 'made')
end
return 1
"""

# owner, position before, position after, witness; then for each entry: stream, id, number of texts, texts
WRITE = """
local marker = redis.call('HMGET', KEYS[1], 'owner', 'position')
if marker[1] ~= ARGV[1] or marker[2] ~= ARGV[2] then return 0 end
if redis.call('EXISTS', unpack(KEYS)) ~= #KEYS then return 0 end
local set, last, i = {'position', ARGV[3]}, {}, 5
if ARGV[4] ~= '' then set[3], set[4] = 'witness', ARGV[4] end
while i <= #ARGV do
    local texts = tonumber(ARGV[i + 2])
    local added = redis.pcall('XADD', KEYS[ARGV[i] + 2], ARGV[i + 1], unpack(ARGV, i + 3, i + 2 + texts))
    if type(added) == 'table' and added.err then
        if string.find(added.err, 'equal or smaller', 1, true) then return 0 end
        return added
    end
    last[ARGV[i]] = ARGV[i + 1]
    i = i + 3 + texts
end
for stream, id in pairs(last) do
    set[#set + 1] = 'last:' .. stream
    set[#set + 1] = id
end
redis.call('HSET', KEYS[1], unpack(set))
return 1
"""

# owner, floor. A group that had not come so far is taken away: a member that is refused reads the store from where
# the group was; one that missed something in silence would not. Trimming goes first: without memory a script may set
# something only after that.
TRIM = """
local marker = redis.call('HMGET', KEYS[1], 'owner', 'floor')
if marker[1] ~= ARGV[1] then return -1 end
if tonumber(marker[2]) >= tonumber(ARGV[2]) then return 0 end
local behind = {}
for i = 2, #KEYS do
    local groups = redis.pcall('XINFO', 'GROUPS', KEYS[i])
    if groups.err then return -1 end
    for _, group in ipairs(groups) do
        local name, read = group[2], nil
        for j = 1, #group, 2 do
            if group[j] == 'last-delivered-id' then read = group[j + 1] end
        end
        local held = redis.call('XPENDING', KEYS[i], name)
        if #redis.call('XRANGE', KEYS[i], '(' .. read, ARGV[2] .. '-0', 'COUNT', 1) > 0
           or (held[1] > 0 and tonumber(string.match(held[2], '^%d+')) <= tonumber(ARGV[2])) then
            behind[name] = true
        end
    end
end
local gone = 0
for i = 2, #KEYS do
    gone = gone + redis.call('XTRIM', KEYS[i], 'MINID', string.format('%.0f-0', ARGV[2] + 1))
    for name in pairs(behind) do redis.call('XGROUP', 'DESTROY', KEYS[i], name) end
end
redis.call('HSET', KEYS[1], 'floor', ARGV[2])
return gone
"""

# A group on every stream, from a position on; 0 when what it needs next is not here, or not yet.
JOIN = """
local marker = redis.call('HMGET', KEYS[1], 'floor', 'position')
if not marker[2] or redis.call('EXISTS', unpack(KEYS)) ~= #KEYS then return 0 end
if tonumber(marker[1]) > tonumber(ARGV[2]) or tonumber(marker[2]) < tonumber(ARGV[2]) then return 0 end
for i = 2, #KEYS do
    local made = redis.pcall('XGROUP', 'CREATE', KEYS[i], ARGV[1], ARGV[2] .. '-0')
    if made.err and not string.find(made.err, 'BUSYGROUP', 1, true) then return made end
end
return 1
"""

# For each group, or for the one that is named: its name, how far all is acknowledged, entries in hands, entries not
# read (of a stream where Redis does not know, a thousand are counted), and how many streams it is on.
GROUPS = """
local top, found, order = tonumber(redis.call('HGET', KEYS[1], 'position') or '0'), {}, {}
local function place(id) return tonumber(string.match(id, '^%d+')) end
local function add(key, is)
    local seen = found[is.name]
    if not seen then
        seen = {top, 0, 0, 0}
        found[is.name] = seen
        order[#order + 1] = is.name
    end
    seen[4] = seen[4] + 1
    local after = '(' .. is['last-delivered-id']
    local unread = redis.call('XRANGE', key, after, '+', 'COUNT', 1)[1]
    if unread then
        seen[1] = math.min(seen[1], place(unread[1]) - 1)
        seen[3] = seen[3] + (is.lag or #redis.call('XRANGE', key, after, '+', 'COUNT', 1000))
    end
    if is.pending > 0 then
        seen[1] = math.min(seen[1], place(redis.call('XPENDING', key, is.name)[2]) - 1)
        seen[2] = seen[2] + is.pending
    end
end
for i = 2, #KEYS do
    local groups = redis.pcall('XINFO', 'GROUPS', KEYS[i])
    for _, group in ipairs(groups.err and {} or groups) do
        local is = {}
        for j = 1, #group, 2 do is[group[j]] = group[j + 1] end
        if not ARGV[1] or is.name == ARGV[1] then add(KEYS[i], is) end
    end
end
local told = {}
for _, name in ipairs(order) do
    local seen = found[name]
    told[#told + 1] = {name, seen[1], seen[2], seen[3], seen[4]}
end
return told
"""
