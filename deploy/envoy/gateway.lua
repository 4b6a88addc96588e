-- What no other filter of Envoy's can: reads the bearer's token as the services do, and keeps a client's request id if
-- it is a UUID.

-- As Python's UUID() reads it, which the services ask: with or without dashes, braces and "urn:uuid:".
local function is_uuid(text)
  local digits = text:gsub("urn:", ""):gsub("uuid:", ""):gsub("^[{}]+", ""):gsub("[{}]+$", ""):gsub("-", "")
  return #digits == 32 and digits:find("^%x+$") ~= nil
end

function envoy_on_request(handle)
  local headers = handle:headers()
  local scheme, token = (headers:get("authorization") or ""):match("^(%S+)%s*(.-)%s*$")
  if scheme and scheme:lower() == "bearer" then
    -- Without a token it is still a bearer: one whose token is no good.
    headers:replace("x-bearer-token", token ~= "" and token or "none")
  end
  local given = headers:get("x-client-request-id") or ""
  local made = headers:get("x-request-id") or ""
  headers:replace("x-request-id", is_uuid(given) and given or (made:gsub("-", "")))
end

local codes = {
  ["3"] = "invalid", ["5"] = "not_found", ["6"] = "already_exists", ["7"] = "permission_denied",
  ["8"] = "throttled", ["9"] = "conflict", ["10"] = "conflict", ["14"] = "service_unavailable",
  ["16"] = "not_authenticated",
}

local function quoted(text)
  local escaped = text:gsub('[%c"\\]', function(char) return string.format("\\u%04x", char:byte()) end)
  return '"' .. escaped .. '"'
end

-- A call over gRPC that came as JSON and was refused: its status becomes an error as REST has them.
function envoy_on_response(handle)
  local headers = handle:headers()
  local status = headers:get("grpc-status")
  local is_grpc = (headers:get("content-type") or ""):find("^application/grpc")
  -- What stays gRPC is 200, whatever its status.
  if not status or (is_grpc and headers:get(":status") == "200") then
    return
  end
  local message, code = headers:get("grpc-message") or "", headers:get("error-code")
  for _, name in ipairs({"grpc-status", "grpc-message", "grpc-status-details-bin", "grpc-accept-encoding", "error-code"}) do
    headers:remove(name)
  end
  if status == "0" then
    return
  end
  local detail = message:gsub("%%(%x%x)", function(hex)
    return string.char(tonumber(hex, 16))
  end)
  local kind = tonumber(headers:get(":status")) >= 500 and "server_error" or "client_error"
  local error = string.format('{"code":%s,"detail":%s,"attr":null}', quoted(code or codes[status] or "error"), quoted(detail))
  headers:replace("content-type", "application/json")
  -- Envoy cannot give a body to what ends with trailers of its own: there the status has to do.
  local content = handle:body(true)
  if content then
    local length = content:setBytes(string.format('{"type":"%s","errors":[%s]}', kind, error))
    handle:headers():replace("content-length", tostring(length))
  end
end
