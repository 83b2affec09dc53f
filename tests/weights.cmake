# What ctest is told so that it keeps the cores busy: a test counts as two of -j, which is twice the cores (scripts/ci.sh),
# and one that mostly waits, for deadlines, retries and servers that end, as one. Those that take long begin first, so that
# none runs alone at the end.
set(waiting "^e2e(_late)?/test_(image_bounds|image_families|life|lora|media|network|pull|reload|schema|spoilt|traces|watch)$")
string(APPEND waiting "|^unit/(runtime/test_(cancel|image_requests|mixed)|engine/test_adapter_store|http/test_http_server)$")
# Seconds on two cores, of a release or with sanitizers and counters, whichever is more.
set(longest op/op_table=220 op/op_table_few=150 unit/build/test_calibration_resume=100 fault/walk=120 parity/test_folded_adapters=100
  e2e/test_pull=60 unit/backend/test_cpu_linear=45 parity/test_shapes=45 parity/test_families=40 parity/test_kl=40
  unit/build/test_build=40 unit/lib/test_neighbours=40 op/added_op=40 e2e/test_lora=35 e2e/test_image_families=35 e2e/test_eval=35
  e2e/test_encoders=30 e2e/test_network=30 e2e/test_reload=30 e2e/test_tune=30 e2e/test_media=30)

# Of this directory's tests.
function(tests_weigh)
  get_property(tests DIRECTORY PROPERTY TESTS)
  foreach(test ${tests})
    set(processors 2)
    if(test MATCHES "${waiting}")
      set(processors 1)
    endif()
    set_tests_properties(${test} PROPERTIES PROCESSORS ${processors})
  endforeach()
  foreach(pair ${longest})
    string(REPLACE "=" ";" pair ${pair})
    list(GET pair 0 test)
    list(GET pair 1 seconds)
    if(test IN_LIST tests)
      set_tests_properties(${test} PROPERTIES COST ${seconds})
    endif()
  endforeach()
endfunction()
