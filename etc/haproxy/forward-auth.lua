-- HAProxy asks PassProxy about a request: the action `passproxy` of forward-auth.cfg.
--
-- With HAProxy's own HTTP client, which is there since 2.5; nothing else is needed. Where the
-- answer is yes, `txn.passproxy_allowed` is true and the request has the fields of the answer;
-- in every other case, an error here included, it is not, and the request goes to PassProxy.

-- Where PassProxy listens; over a unix socket:
--   local ADDRESS, SOCKET = "http://localhost", "unix@/run/passproxy/app.sock"
local ADDRESS, SOCKET = "http://127.0.0.1:8123", nil

local QUESTION = "/.passproxy/auth"
local TIMEOUT_MILLISECONDS = 30000

-- The most cookies that a renewed session takes.
local COOKIES = 5

-- Of a request these are about its connection or its body, and no question has one.
local LEFT_OUT = {
    ["connection"] = true,
    ["content-length"] = true,
    ["expect"] = true,
    ["keep-alive"] = true,
    ["te"] = true,
    ["trailer"] = true,
    ["transfer-encoding"] = true,
    ["upgrade"] = true,
    ["x-forwarded-method"] = true,
    ["x-forwarded-uri"] = true,
}

-- Of the answer these are the application's, besides everything that begins with x-passproxy-.
-- With another `headers.profile`, `headers.set` or `assertion.header` their names are added, in
-- lower case, here and to the deletions of forward-auth.cfg.
local HANDED_ON = {
    ["authorization"] = true,
    ["cookie"] = true,
    ["x-request-id"] = true,
}

-- HAProxy counts the values of a field from 0 in some tables and from 1 in others.
local function values(field)
    local found = {}
    for _, value in pairs(field) do
        found[#found + 1] = value
    end
    return found
end

core.register_action("passproxy", { "http-req" }, function(txn)
    txn:set_var("txn.passproxy_allowed", false)

    local fields = {}
    for name, field in pairs(txn.http:req_get_headers()) do
        if not LEFT_OUT[name] then
            fields[name] = values(field)
        end
    end
    fields["x-forwarded-method"] = { txn.sf:method() }
    fields["x-forwarded-uri"] = { txn.sf:pathq() }
    if txn.sf:req_fhdr("upgrade") ~= "" then
        -- A WebSocket is judged as one, its Origin too.
        fields["upgrade"] = { txn.sf:req_fhdr("upgrade") }
        fields["connection"] = { "Upgrade" }
    end

    local answer = core.httpclient():get({
        url = ADDRESS .. QUESTION,
        dst = SOCKET,
        headers = fields,
        timeout = TIMEOUT_MILLISECONDS,
    })
    if answer == nil or answer.status ~= 200 then
        return
    end

    for name in pairs(txn.http:req_get_headers()) do
        if HANDED_ON[name] or name:find("passproxy", 1, true) then
            txn.http:req_del_header(name)
        end
    end
    for name, field in pairs(answer.headers) do
        for _, value in ipairs(values(field)) do
            local number = tonumber(name:match("^x%-passproxy%-set%-cookie%-(%d+)$"))
            if number ~= nil then
                if number > COOKIES then
                    return
                end
                txn:set_var("txn.passproxy_cookie_" .. number, value)
            elseif HANDED_ON[name] or name:find("x-passproxy-", 1, true) == 1 then
                txn.http:req_add_header(name, value)
            end
        end
    end
    txn:set_var("txn.passproxy_allowed", true)
end, 0)
